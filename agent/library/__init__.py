"""What `import wattshed` offers to programs and notebooks."""
