"""The only place that touches ZeroMQ: the sockets of the broker and of the client."""
