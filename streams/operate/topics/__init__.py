"""Topics that are declared, compared with the broker's and made."""
