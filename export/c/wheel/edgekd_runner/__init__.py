"""A folder for each kind of processor: edgekd's runner, its loader, its libraries, `runner.json` with their hashes."""
