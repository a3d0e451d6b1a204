"""Files of weights: what each format holds, judged before it is read, and where published ones are."""
