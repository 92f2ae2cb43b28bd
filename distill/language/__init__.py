"""Students that read text: Llamas cut from the teacher, or small ones from scratch."""
