# Its name says all: ../vitrine.cmake reads it.
