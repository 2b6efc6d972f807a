"""The front door: takes orders over HTTP, and declares the saga that carries them out."""
