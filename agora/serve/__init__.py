"""Serving: whatever agora can build, behind the endpoints that everyone already speaks."""
