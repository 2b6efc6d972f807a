"""For tests of sagas and of adapters: what is in here is shipped."""
