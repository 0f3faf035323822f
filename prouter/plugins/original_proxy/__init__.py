"""What original routers call to reach a job's server: `http_request` and `ws_connect`, one stream both ways."""
