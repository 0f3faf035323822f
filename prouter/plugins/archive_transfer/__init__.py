"""Archives of a job's sandbox, `PATH/archive`: down as tar, tar.gz or zip, up as tar or tar.gz, all or nothing."""
