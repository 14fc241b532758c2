"""What people and programs read: documents as values, written as text and as JSON."""
