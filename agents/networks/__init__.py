"""Networks that treat all waiting requests alike: any order, any queue length."""
