// Go's standard library alone: call a model, stream a chat, read the receipt.
//
//	AGORAI_URL=http://localhost:8000 AGORAI_API_KEY=agr_live_… go run examples/client.go
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

var (
	url = strings.TrimRight(os.Getenv("AGORAI_URL"), "/")
	key = os.Getenv("AGORAI_API_KEY")
)

// send posts the body, or gets without one, and ends the program with the answer's words if it is an error.
func send(path string, body any) *http.Response {
	method, data := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		data, _ = json.Marshal(body)
	}
	request, err := http.NewRequest(method, url+path, bytes.NewReader(data))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatalf("%s does not answer: %v", url, err)
	}
	if response.StatusCode >= 400 {
		words, _ := io.ReadAll(response.Body)
		log.Fatalf("%s answered %d: %s", path, response.StatusCode, words)
	}
	return response
}

// read decodes the JSON of an answer and closes it.
func read(response *http.Response, into any) {
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		log.Fatal(err)
	}
}

func main() {
	log.SetFlags(0)
	if url == "" {
		url = "http://localhost:8000"
	}
	if key == "" {
		log.Fatal("Set AGORAI_API_KEY.")
	}

	var sentiment struct{ Label string }
	answer := send("/api/models/demo:sentiment/invoke", map[string]string{"text": "I love how simple this is!"})
	read(answer, &sentiment)
	fmt.Println("Sentiment:", sentiment.Label)

	fmt.Print("Chat: ")
	stream := send("/v1/chat/completions", map[string]any{
		"model":    "demo/eliza",
		"messages": []map[string]string{{"role": "user", "content": "I need a holiday"}},
		"stream":   true,
	})
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData || data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			log.Fatal(err)
		}
		for _, choice := range chunk.Choices {
			fmt.Print(choice.Delta.Content)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println()

	var receipt struct {
		ID   string
		Cost struct{ Amount, Currency string }
	}
	read(send("/v1/requests/"+answer.Header.Get("x-request-id"), nil), &receipt)
	fmt.Printf("Receipt: %s cost %s %s\n", receipt.ID, receipt.Cost.Amount, receipt.Cost.Currency)
}
