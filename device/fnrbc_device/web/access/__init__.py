"""Who may use the pages: accounts, logins, sessions and the limits that keep strangers out."""
