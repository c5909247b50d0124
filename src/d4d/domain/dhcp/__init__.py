"""RFC 2131's client as values and a state machine: it hears time and messages, says what to do."""
