"""The demo as a show: a page of its console with faults at a click, and counts that must agree."""
