"""Whether what a message class writes is what it reads back."""
