"""Jobs on this agent: their records on disk, their life, how they are started and how their ports are found."""
