"""Work of jobs: tokens, requests, images and steps; read from inference servers, or told by the jobs themselves."""
