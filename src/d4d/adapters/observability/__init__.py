"""Log, metrics, traces, event stream and webhook: how others see what happens."""
