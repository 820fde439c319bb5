"""Waiting times of people that read the console while events flow."""
