"""Sound, pictures and text as token ids, each tokenizer in its own module."""
