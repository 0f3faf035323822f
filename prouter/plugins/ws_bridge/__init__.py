"""POST PATH/wsconnect/REST: the router joins a job's websocket to one of the caller's own server."""
