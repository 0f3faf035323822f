"""Jobs as the router sees them: a mirror of what each agent says, and the calls that change them."""
