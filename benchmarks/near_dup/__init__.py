"""Near-duplicate captions: Septet beside Daft and datatrove."""
