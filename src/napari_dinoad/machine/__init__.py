"""What the machine gives, and how it fails: files and folders, locks, streams, memory and libraries."""
