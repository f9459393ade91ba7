"""A board watched for a while: guests put on it, an account of what they used."""
