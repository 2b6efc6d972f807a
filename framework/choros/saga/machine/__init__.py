"""The machine: `(saga, instance, inputs, now) -> decision`. Pure."""
