"""What lies between the GPU's board and the grid."""
