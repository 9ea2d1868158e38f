package main

import "errors"

func checkMain(c *cli) int { return fail(exitFailed, errors.New("check: not built yet")) }
