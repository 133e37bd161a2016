"""The agent as a service: what controllers reach over gRPC, with certificates on both sides."""
