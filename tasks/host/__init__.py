"""One host: where it keeps what is made, the servers of its pages, and a worker for its flows."""
