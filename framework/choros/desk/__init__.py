"""What a person does with sagas, facts and dead letters, and what a person reads of them."""
