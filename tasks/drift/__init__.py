"""Schema drift as data: what appeared, widened, conflicted, vanished or was renamed, with the evidence."""
