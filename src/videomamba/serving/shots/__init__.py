"""Shots of a video and the motion of the camera in each, from the scores of a model that knows "cut" and "fade"."""
