"""Many photos in one run: batches, the journal, the processes that share it."""
