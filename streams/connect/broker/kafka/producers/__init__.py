"""Producers on aiokafka."""
