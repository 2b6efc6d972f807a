"""What travels: the envelope, the attributes of CloudEvents, canonical bodies, the key of a command."""
