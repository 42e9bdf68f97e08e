"""The names of the files and links of a snapshot, for writing and reading."""

SNAPSHOTS = "snapshots"  # the directory of all snapshots, below the state directory
LATEST = "latest"
MANIFEST = "streamlearn.json"
WEIGHTS = "model.safetensors"  # the transformer's weights, where Hugging Face's code looks for them
ADAPTER = "adapter"  # the directory of the adapters, in peft's format
EXPERTS = "experts.safetensors"  # the parts of the mixture besides the transformer
