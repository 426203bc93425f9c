"""The benchmark's own S3 server: what a client may rely on, or every figure measured against it means nothing."""

from __future__ import annotations

import json
import socket
import unittest
import xml.etree.ElementTree

from tests.s3_server import BUCKET, S3Server


def pattern(count: int, seed: int = 1) -> bytes:
    return bytes((seed * 131 + i * 7 + i // 251) & 0xFF for i in range(count))


class Objects(unittest.TestCase):
    def setUp(self) -> None:
        self.server = S3Server()
        self.server.__enter__()
        self.addCleanup(self.server.__exit__)

    def test_come_back_as_they_were_put(self) -> None:
        for count in (0, 1, 4095, 4096, 4097, 300_000):
            status, put_headers, _ = self.server.object("PUT", f"o{count}", pattern(count))
            self.assertEqual(status, 200)
            status, headers, body = self.server.object("GET", f"o{count}")
            self.assertEqual((status, body, headers["etag"]), (200, pattern(count), put_headers["etag"]))
            status, headers, body = self.server.object("HEAD", f"o{count}")
            self.assertEqual((status, body, headers["content-length"]), (200, b"", str(count)))

    def test_ranges_are_exact_and_tell_the_whole_length(self) -> None:
        self.server.object("PUT", "o", pattern(10_000))
        for asked, first, last in (("0-0", 0, 0), ("4090-4100", 4090, 4100), ("9000-", 9000, 9999),
                                   ("-16", 9984, 9999), ("-20000", 0, 9999), ("5000-99999", 5000, 9999)):
            status, headers, body = self.server.object("GET", "o", Range=f"bytes={asked}")
            self.assertEqual((status, body), (206, pattern(10_000)[first : last + 1]))
            self.assertEqual(headers["content-range"], f"bytes {first}-{last}/10000")
        status, headers, _ = self.server.object("GET", "o", Range="bytes=10000-")
        self.assertEqual((status, headers["content-range"]), (416, "bytes */10000"))

    def test_conditions_hold_for_gets_puts_and_deletes(self) -> None:
        _, headers, _ = self.server.object("PUT", "o", b"one")
        old = headers["etag"]
        self.assertEqual(self.server.object("PUT", "o", b"two", If_None_Match="*")[0], 412)
        self.assertEqual(self.server.object("GET", "o", If_Match=old)[2], b"one")
        self.server.object("PUT", "o", b"three", If_Match=old)
        self.assertEqual(self.server.object("GET", "o", If_Match=old)[0], 412)
        self.assertEqual(self.server.object("PUT", "o", b"four", If_Match=old)[0], 412)
        self.assertEqual(self.server.object("DELETE", "o", If_Match=old)[0], 412)
        self.assertEqual(self.server.object("GET", "o")[2], b"three")
        self.assertEqual(self.server.object("DELETE", "o")[0], 204)
        self.assertEqual(self.server.object("GET", "o")[0], 404)
        self.assertEqual(self.server.object("DELETE", "o")[0], 204)

    def test_a_body_in_chunks_is_put_without_its_frames(self) -> None:
        text = b"5;chunk-signature=ab\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n"
        status, _, _ = self.server.object("PUT", "o", text, Content_Encoding="aws-chunked",
                                          x_amz_decoded_content_length="11")
        self.assertEqual((status, self.server.object("GET", "o")[2]), (200, b"hello world"))
        # The same in HTTP's chunks, which end where they like.
        for size in (1, 3, 7, 50, len(text)):
            pieces = [text[at : at + size] for at in range(0, len(text), size)]
            framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as client:
                head = "Content-Encoding: aws-chunked\r\nx-amz-decoded-content-length: 11\r\nTransfer-Encoding: chunked"
                client.sendall(f"PUT /{BUCKET}/p{size} HTTP/1.1\r\n{head}\r\n\r\n".encode() + framed)
                self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 200"))
            self.assertEqual(self.server.object("GET", f"p{size}")[2], b"hello world")

    def test_a_client_that_waits_for_100_gets_it(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as client:
            client.sendall(b"PUT /bench/o HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(client.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(b"abc")
            self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n"))

    def test_a_put_that_breaks_off_leaves_nothing(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as client:
            client.sendall(b"PUT /bench/o HTTP/1.1\r\nContent-Length: 5000\r\n\r\nabc")
            client.shutdown(socket.SHUT_WR)
            client.recv(100)
        self.assertEqual(self.server.object("GET", "o")[0], 404)
        self.assertEqual(self.counts()["memory_bytes"], 0)

    def test_listings_are_sorted_and_paged_below_a_prefix(self) -> None:
        for number in range(5):
            self.server.object("PUT", f"a/{number}", b"x" * number)
        self.server.object("PUT", "b%26%3C", b"")
        names, token = [], ""
        for _ in range(3):
            _, _, body = self.server.ask("GET", f"/{BUCKET}?list-type=2&prefix=a/&max-keys=2{token}")
            listing = xml.etree.ElementTree.fromstring(body)
            names += [(one.findtext("Key"), one.findtext("Size")) for one in listing.iter("Contents")]
            token = f"&continuation-token={listing.findtext('NextContinuationToken')}"
        self.assertEqual(listing.findtext("IsTruncated"), "false")
        self.assertEqual(names, [(f"a/{number}", str(number)) for number in range(5)])
        _, _, body = self.server.ask("GET", f"/{BUCKET}?list-type=2&prefix=b")
        self.assertEqual(xml.etree.ElementTree.fromstring(body).findtext("Contents/Key"), "b&<")

    def test_another_bucket_is_missing(self) -> None:
        self.assertEqual(self.server.ask("HEAD", "/other")[0], 404)
        self.assertEqual(self.server.ask("HEAD", f"/{BUCKET}")[0], 200)

    def upload(self, name: str) -> str:
        _, _, body = self.server.object("POST", f"{name}?uploads")
        return xml.etree.ElementTree.fromstring(body).findtext("UploadId") or ""

    def test_an_upload_is_its_parts_in_order(self) -> None:
        upload = self.upload("o")
        tags = {}
        for number in (2, 1):
            target = f"o?partNumber={number}&uploadId={upload}"
            tags[number] = self.server.object("PUT", target, pattern(5000, number))[1]["etag"]
        self.assertEqual(self.server.object("GET", "o")[0], 404)
        parts = "".join(
            f"<Part><ETag>{tags[number]}</ETag><PartNumber>{number}</PartNumber></Part>" for number in (1, 2)
        )
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        wrong = document.replace(tags[2].encode(), tags[1].encode())
        self.assertEqual(self.server.object("POST", f"o?uploadId={upload}", wrong)[0], 400)
        self.assertEqual(self.server.object("POST", f"o?uploadId={upload}", document)[0], 200)
        whole = pattern(5000, 1) + pattern(5000, 2)
        self.assertEqual(self.server.object("GET", "o")[2], whole)
        self.assertEqual(self.server.object("GET", "o", Range="bytes=4990-5009")[2], whole[4990:5010])
        self.assertEqual(self.counts()["uploads"], 0)

    def test_an_aborted_upload_gives_its_memory_back(self) -> None:
        upload = self.upload("o")
        self.server.object("PUT", f"o?partNumber=7&uploadId={upload}", pattern(5000))
        _, _, body = self.server.ask("GET", f"/{BUCKET}?uploads&prefix=o")
        self.assertEqual(xml.etree.ElementTree.fromstring(body).findtext("Upload/UploadId"), upload)
        self.assertEqual(self.server.object("DELETE", f"o?uploadId={upload}")[0], 204)
        self.assertEqual(self.server.object("DELETE", f"o?uploadId={upload}")[0], 404)
        self.assertEqual((self.counts()["uploads"], self.counts()["memory_bytes"]), (0, 0))

    def counts(self) -> "dict[str, int]":
        return json.loads(self.server.ask("GET", "/-/counts")[2])

    def test_puts_that_are_only_counted_take_no_memory_and_are_never_served(self) -> None:
        self.server.ask("POST", "/-/puts?count")
        self.assertEqual(self.server.object("PUT", "o", pattern(70_000))[0], 200)
        self.assertEqual(self.server.object("HEAD", "o")[1]["content-length"], "70000")
        self.assertEqual(self.server.object("GET", "o")[0], 500)
        counts = self.counts()
        self.assertEqual((counts["puts"], counts["put_bytes"], counts["memory_bytes"]), (1, 70_000, 0))
        self.server.ask("POST", "/-/puts?keep")
        self.server.object("PUT", "o", b"kept")
        self.assertEqual(self.server.object("GET", "o")[2], b"kept")

    def test_requests_that_are_none_are_refused(self) -> None:
        for text in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"GET /%0 HTTP/1.1\r\n\r\n",
                     b"GET /bench/o HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", b"A" * 20_000):
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as client:
                client.sendall(text)
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 400"), text[:30])


class Memory(unittest.TestCase):
    def test_is_bounded_and_what_is_removed_can_be_used_again(self) -> None:
        with S3Server(memory_bytes=64 << 10) as server:
            self.assertEqual(server.object("PUT", "a", pattern(40_000))[0], 200)
            self.assertEqual(server.object("PUT", "b", pattern(40_000))[0], 507)
            self.assertEqual(server.object("GET", "a")[2], pattern(40_000))
            server.ask("POST", "/-/clear")
            self.assertEqual(server.object("PUT", "b", pattern(40_000, 2))[0], 200)
            self.assertEqual(server.object("GET", "b")[2], pattern(40_000, 2))

    def test_bytes_under_way_are_not_those_of_the_next_object(self) -> None:
        # The slow client's bytes are still on their way while the object is replaced and its room is asked for again.
        whole = pattern(1 << 20)
        with S3Server(memory_bytes=4 << 20) as server:
            server.object("PUT", "o", whole)
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
                slow.sendall(b"GET /bench/o HTTP/1.1\r\n\r\n")
                got = slow.recv(1000)
                for number in range(6):
                    server.object("PUT", "o", pattern(1 << 20, number + 2))
                head = got.index(b"\r\n\r\n") + 4
                while len(got) < head + len(whole):
                    got += slow.recv(1 << 16)
            self.assertEqual(got[head:], whole)


if __name__ == "__main__":
    unittest.main()
