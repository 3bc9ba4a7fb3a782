"""What `litemkd doctor` looks at: one file a subject, each a few findings."""
