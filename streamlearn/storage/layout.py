"""What the files and links of a snapshot are called, for whoever writes one and whoever reads one."""

SNAPSHOTS = "snapshots"  # the directory of all of them, below that of the learner's state
LATEST = "latest"
MANIFEST = "streamlearn.json"
WEIGHTS = "model.safetensors"  # the transformer's, where Hugging Face's code looks for them
ADAPTER = "adapter"  # the directory of what was learnt as adapters, as peft reads it
EXPERTS = "experts.safetensors"  # what of the mixture is not the transformer
