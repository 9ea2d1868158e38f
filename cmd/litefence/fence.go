package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

func fenceMain(args []string) int {
	fs := newFlags("fence", "fence [-config FILE] -reason TEXT")
	connect := socketFlags(fs)
	reason := fs.String("reason", "", "why, for whoever finds the fence (required)")
	if code, ok := parse(fs, args); !ok {
		return code
	}
	if *reason == "" {
		return fail(exitUsage, errors.New("fence: -reason is missing; say why, for whoever finds the fence"))
	}
	body, _ := json.Marshal(map[string]string{"reason": *reason})
	return post(connect, "/v1/fence", body)
}

func unfenceMain(args []string) int {
	fs := newFlags("unfence", "unfence [-config FILE]")
	connect := socketFlags(fs)
	if code, ok := parse(fs, args); !ok {
		return code
	}
	return post(connect, "/v1/unfence", nil)
}

func post(connect func() (*adminClient, error), path string, body []byte) int {
	c, err := connect()
	if err != nil {
		return fail(exitUsage, err)
	}
	if err := c.do(context.Background(), http.MethodPost, path, bytes.NewReader(body), &struct{}{}); err != nil {
		return fail(exitFailed, err)
	}
	return exitDone
}
