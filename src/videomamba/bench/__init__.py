"""What `videomamba bench` measures, one file a subject; how it is measured is `evaluation.benchmark`."""
