"""What a run will ask of a cluster: bytes on the wire, and the time of a step."""
