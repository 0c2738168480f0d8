"""The benchmarks of `videomamba bench`, one file a subject; `measure` and `process` are the tools."""
