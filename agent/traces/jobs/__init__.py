"""Who held which GPU, from what schedulers wrote down."""
