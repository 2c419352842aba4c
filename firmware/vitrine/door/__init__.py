"""What the door is and does. Imports nothing of ours."""
