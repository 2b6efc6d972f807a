"""The simulated broker's AMQP 0-9-1 side: what it says and takes on a pipe, frame by frame."""
