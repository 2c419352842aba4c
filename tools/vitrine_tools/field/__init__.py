"""What is done to a lock board at the bench and in the field: boards, flash, provisioning."""
