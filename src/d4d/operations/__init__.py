"""What an operator asks of a driver, over the parts that the composition root made."""
