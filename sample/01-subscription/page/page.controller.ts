import { Controller, Get, Header } from '@nestjs/common';
import { Public } from 'nestjs-jwt-state';
import { PageFiles } from './page-files.js';

/** Nothing but what this server sends, so that a token in the page stays in the page. */
const POLICY =
  "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** The page to look at: two devices of one user, and an administrator. */
@Public()
@Controller()
export class PageController {
  constructor(private readonly files: PageFiles) {}

  @Get()
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', POLICY)
  document() {
    return this.files.document();
  }

  @Get('page.css')
  @Header('Content-Type', 'text/css; charset=utf-8')
  style() {
    return this.files.style();
  }

  @Get('page.js')
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  script() {
    return this.files.script();
  }
}
