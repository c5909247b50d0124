"""RFC 2131's client as values and a state machine: it is told the time and the messages, and says what to send."""
