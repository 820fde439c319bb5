"""Requests that aiokafka lacks or answers too coarsely."""
